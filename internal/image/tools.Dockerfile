# What the images of all agents begin with: the tools that an agent works with, and a
# stage that fetches a command line from npm's registry, checked against a pinned hash.
FROM debian:bookworm-slim AS tools
RUN apt-get update \
 && apt-get install -y --no-install-recommends \
      bash ca-certificates curl git jq less openssh-client procps ripgrep \
 && rm -rf /var/lib/apt/lists/* /var/cache/apt/* \
 && groupadd --gid 1000 node \
 && useradd --uid 1000 --gid 1000 --create-home --shell /bin/bash node \
 && mkdir -p /workspace /opt/bot-bottle /run/bot-bottle /etc/bot-bottle \
 && chown node:node /workspace

# Certificates that the host trusts besides the usual ones: behind a proxy that inspects
# TLS, fetching works only with them. They stay in this stage, and so does the registry.
FROM tools AS fetch
COPY extra-ca.pem npm-fetch /fetch/
ARG NPM_REGISTRY=
ENV NPM_REGISTRY=$NPM_REGISTRY
WORKDIR /fetch
