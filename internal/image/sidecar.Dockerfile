# The image that a bottle's sidecar bundle runs in. Our own binary is not in it: it
# comes with a volume. git and ssh are for git-gate; ssh asks who runs it.
FROM debian:bookworm-slim
RUN apt-get update \
 && apt-get install -y --no-install-recommends ca-certificates git openssh-client \
 && rm -rf /var/lib/apt/lists/* /var/cache/apt/* \
 && useradd --uid 10002 --user-group --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin git-gate \
 && mkdir -p /opt/bot-bottle /run/bot-bottle /var/lib/bot-bottle \
 && install -d -o git-gate -g git-gate -m 0700 /var/lib/bot-bottle/git
