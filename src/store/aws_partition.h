#pragma once

/* AWS's partitions: groups of regions that have DNS names of their own. */

/* What the names of a region's services end in: "amazonaws.com", "amazonaws.com.cn", …. */
const char *aws_dns_suffix(const char *region);
