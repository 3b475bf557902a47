#include "store/web_identity.h"

#include <errno.h>
#include <stdio.h>

#include "store/sts.h"

int web_identity_credentials(const struct aws_search *search, struct aws_credentials *ret)
{
    char file[PATH_MAX], arn[2049], session[65];
    const struct sts_role role = {.arn = arn, .session_name = session};
    int r = aws_setting(NULL, "AWS_WEB_IDENTITY_TOKEN_FILE", NULL, file, sizeof(file));

    if (r == 0)
        return 0;
    if (r < 0 || aws_setting(NULL, "AWS_ROLE_ARN", NULL, arn, sizeof(arn)) != 1)
        return aws_search_fail(search, -EINVAL,
                               "AWS_WEB_IDENTITY_TOKEN_FILE needs AWS_ROLE_ARN beside it");
    if (aws_setting(NULL, "AWS_ROLE_SESSION_NAME", NULL, session, sizeof(session)) < 0)
        return aws_search_fail(search, -EINVAL, "AWS_ROLE_SESSION_NAME is longer than %zu bytes",
                               sizeof(session) - 1);
    r = sts_assume_role_with_web_identity(search, file, &role, ret);
    if (r < 0)
        return r;
    snprintf(ret->place, sizeof(ret->place), "role %s by AWS_WEB_IDENTITY_TOKEN_FILE", arn);
    return 1;
}
