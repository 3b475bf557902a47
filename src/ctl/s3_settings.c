#include "ctl/s3_settings.h"

void s3_settings_of(const struct crash_settings *settings, const char *crash_id,
                    struct s3_settings *ret)
{
    *ret = (struct s3_settings){
        .bucket = settings->bucket,
        .key_prefix = settings->key_prefix,
        .region = settings->region,
        .endpoint = settings->endpoint,
        .sse = settings->sse,
        .sse_kms_key_id = settings->sse_kms_key_id,
        .storage_class = settings->storage_class,
        .tags = settings->tags,
        .expected_bucket_owner = settings->expected_bucket_owner,
        .request_payer = settings->request_payer,
        .checksum = settings->checksum,
        .crash_id = crash_id,
        .allow_http = settings->allow_http,
        .upload_rate = settings->upload_rate,
    };
}
