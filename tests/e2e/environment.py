"""What of this machine's environment a test may see."""

import os

# The machine's own settings must not reach a test.
SETTINGS = ("COREINIT_", "TINI_", "S3_", "AWS_", "RUN_ID")


def clean_environment(**extra):
    env = {k: v for k, v in os.environ.items() if not k.startswith(SETTINGS)}
    env.pop("CURL_CA_BUNDLE", None)
    env.pop("SSL_CERT_FILE", None)
    env["AWS_EC2_METADATA_DISABLED"] = "true"  # nor the role of the instance that this runs on
    env.update({k: str(v) for k, v in extra.items()})
    return env
