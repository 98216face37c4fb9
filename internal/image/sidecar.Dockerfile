# The image that a bottle's sidecar bundle runs in. Our own binary is not in it: it
# comes with a volume. git and ssh are for git-gate.
FROM debian:bookworm-slim
RUN apt-get update \
 && apt-get install -y --no-install-recommends ca-certificates git openssh-client \
 && rm -rf /var/lib/apt/lists/* /var/cache/apt/* \
 && mkdir -p /opt/bot-bottle /run/bot-bottle
