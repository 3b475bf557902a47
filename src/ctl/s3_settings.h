#pragma once

#include "init/crash_record.h"
#include "store/s3.h"

/*
 * What the store layer is to know of the settings.
 *
 * @crash_id  the bundle's, for its objects' metadata; NULL: none
 * @ret       its texts are @settings' and @crash_id
 */
void s3_settings_of(const struct crash_settings *settings, const char *crash_id,
                    struct s3_settings *ret);
