#pragma once

/*
 * Which container this is, as far as only its platform's services know it: the ECS task metadata
 * endpoint (version 4), the namespace of the Kubernetes service account, the EC2 instance's id.
 * They are asked in a thread of its own, while the bundle is made: a service that hangs costs
 * nothing until identity_end(), and there at most what is left of its 2 seconds.
 */

#include "bundle/container.h"

struct identity;

/*
 * Begins to ask.
 *
 * @container  as container_read() filled it; read here, and not written before identity_end()
 *
 * Returns NULL where there is nobody to ask, or no memory: identity_end() takes that.
 */
struct identity *identity_begin(const struct container *container);

/*
 * Waits for what is still to come, within 2 s since identity_begin(), and puts what was found where
 * @container knows nothing yet. What failed is one line at debug level.
 */
void identity_end(struct identity *identity, struct container *container);
