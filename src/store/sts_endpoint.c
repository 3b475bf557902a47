#include "store/sts_endpoint.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "store/aws_partition.h"

#define GLOBAL_URL "https://sts.amazonaws.com/"
#define GLOBAL_REGION "us-east-1"

/* The regions that "legacy" sends to the global endpoint: those older than the setting (AWS SDKs
 * and Tools Reference Guide, "AWS STS Regional endpoints"). */
static const char *const legacy_regions[] = {
    "ap-northeast-1", "ap-south-1",   "ap-southeast-1", "ap-southeast-2",
    "aws-global",     "ca-central-1", "eu-central-1",   "eu-north-1",
    "eu-west-1",      "eu-west-2",    "eu-west-3",      "sa-east-1",
    "us-east-1",      "us-east-2",    "us-west-1",      "us-west-2",
};

static bool is_global(const struct aws_search *search)
{
    char mode[16];

    if (!search->sts_region[0])
        return true;
    if (aws_setting(search->profile, "AWS_STS_REGIONAL_ENDPOINTS", "sts_regional_endpoints", mode,
                    sizeof(mode)) != 1 ||
        strcasecmp(mode, "legacy") != 0)
        return false;
    for (size_t i = 0; i < sizeof(legacy_regions) / sizeof(legacy_regions[0]); i++)
        if (strcmp(search->sts_region, legacy_regions[i]) == 0)
            return true;
    return false;
}

/* Returns 1, 0 (there is none), or -EINVAL. */
static int find_custom(const struct aws_search *search, struct sts_endpoint *ret)
{
    char host[256], ignored[16];
    bool is_tls;
    int r =
        aws_setting(NULL, "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", NULL, ignored, sizeof(ignored));

    if (r == 1 && strcasecmp(ignored, "true") == 0)
        return 0;
    r = aws_setting(NULL, "AWS_ENDPOINT_URL_STS", NULL, ret->url, sizeof(ret->url));
    if (r == 0)
        r = aws_setting(search->profile, "AWS_ENDPOINT_URL", "endpoint_url", ret->url,
                        sizeof(ret->url));
    if (r == 0)
        return 0;
    /* Not shown: someone may have put a password into it. */
    if (r < 0 || http_url_split(ret->url, &is_tls, host, sizeof(host)) < 0)
        return aws_search_fail(search, -EINVAL,
                               "the endpoint of STS must look like https://host:port, without a "
                               "user: correct AWS_ENDPOINT_URL_STS");
    if (!is_tls && !search->allow_http && !http_host_is_loopback(host))
        return aws_search_fail(search, -EINVAL,
                               "STS isn't asked by plain http at %s: use https in "
                               "AWS_ENDPOINT_URL_STS, or set S3_ALLOW_HTTP=yes",
                               host);
    return 1;
}

int sts_endpoint_find(const struct aws_search *search, struct sts_endpoint *ret)
{
    const bool global = is_global(search);
    char fips[16] = "";
    int r = find_custom(search, ret);

    if (search->sts_region[strspn(search->sts_region, "abcdefghijklmnopqrstuvwxyz0123456789-")])
        return aws_search_fail(search, -EINVAL, "'%s' is no AWS region: correct AWS_REGION",
                               search->sts_region);
    snprintf(ret->region, sizeof(ret->region), "%s", global ? GLOBAL_REGION : search->sts_region);
    if (r != 0)
        return r < 0 ? r : 0;
    (void)aws_setting(search->profile, "AWS_USE_FIPS_ENDPOINT", "use_fips_endpoint", fips,
                      sizeof(fips));
    if (strcasecmp(fips, "true") == 0)
        snprintf(ret->url, sizeof(ret->url), "https://sts-fips.%s.%s/", ret->region,
                 aws_dns_suffix(ret->region));
    else if (global)
        snprintf(ret->url, sizeof(ret->url), GLOBAL_URL);
    else
        snprintf(ret->url, sizeof(ret->url), "https://sts.%s.%s/", ret->region,
                 aws_dns_suffix(ret->region));
    return 0;
}
