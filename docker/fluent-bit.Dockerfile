# A Fluent Bit image that leaves a bundle when Fluent Bit crashes. BASE is any image that has
# Fluent Bit at this path, COREINIT the image that Dockerfile beside this file builds.
#
#   docker build -t fluent-bit-coreinit - < docker/fluent-bit.Dockerfile
ARG BASE=public.ecr.aws/aws-observability/aws-for-fluent-bit:debug-latest
ARG COREINIT=coreinit

FROM ${COREINIT} AS coreinit

FROM ${BASE}
COPY --from=coreinit /opt/coreinit /opt/coreinit

# Where core_pattern is a relative name, the kernel writes the core into the program's working
# directory. WORKDIR makes it, in images without a shell too.
WORKDIR /cores

# The base's own entry point is replaced: AWS's debug image starts Fluent Bit from a shell that
# uploads cores by itself.
ENTRYPOINT ["/opt/coreinit/bin/coreinit", "--"]
CMD ["/fluent-bit/bin/fluent-bit", "-c", "/fluent-bit/etc/fluent-bit.conf"]
