# The image that Claude Code runs in. Its native binary comes from the npm package, which
# is checked against a pinned hash; neither Node nor npm is in the final stage.
FROM debian:bookworm-slim AS tools
RUN apt-get update \
 && apt-get install -y --no-install-recommends \
      bash ca-certificates curl git jq less openssh-client procps ripgrep \
 && rm -rf /var/lib/apt/lists/* /var/cache/apt/* \
 && groupadd --gid 1000 node \
 && useradd --uid 1000 --gid 1000 --create-home --shell /bin/bash node \
 && mkdir -p /workspace /opt/bot-bottle /run/bot-bottle /etc/bot-bottle \
 && chown node:node /workspace

FROM tools AS fetch
RUN apt-get update \
 && apt-get install -y --no-install-recommends npm
# Certificates that the host trusts besides the usual ones: behind a proxy that
# inspects TLS, npm works only with them. They stay in this stage.
COPY extra-ca.pem /tmp/extra-ca.pem
ARG CLAUDE_CODE_VERSION=2.1.330
ARG CLAUDE_CODE_SHA512_AMD64=f469fe57b0ed27c3359f3b4ff42783565f60dd1b6b7a923bace153c8f4519d97bc0facde6c81ca982ecebc16aeb9cb803f45f493ce520cdfcb3d56728ec19ecd
ARG CLAUDE_CODE_SHA512_ARM64=578c9a9c0639100e54a70c113ed8d27ea0db36a0255097959f7358670d808264478dda52b0bb470336f14577e40276e3c135f3134b9e763431518d360113dcb0
ARG NPM_REGISTRY=
RUN set -eu; cd /tmp; \
    case "$(dpkg --print-architecture)" in \
      amd64) name=claude-code-linux-x64; sum="$CLAUDE_CODE_SHA512_AMD64" ;; \
      arm64) name=claude-code-linux-arm64; sum="$CLAUDE_CODE_SHA512_ARM64" ;; \
      *) echo "Claude Code has no build for this architecture" >&2; exit 1 ;; \
    esac; \
    export NODE_EXTRA_CA_CERTS=/tmp/extra-ca.pem npm_config_update_notifier=false; \
    if [ -n "$NPM_REGISTRY" ]; then export npm_config_registry="$NPM_REGISTRY"; fi; \
    npm pack --silent "@anthropic-ai/$name@$CLAUDE_CODE_VERSION" >name; \
    mv "$(cat name)" claude.tgz; \
    echo "$sum  claude.tgz" | sha512sum --check --quiet; \
    tar -xzf claude.tgz package/claude; \
    install -m 0755 package/claude /usr/local/bin/claude

FROM tools
COPY --from=fetch /usr/local/bin/claude /usr/local/bin/claude
ENV LANG=C.UTF-8
WORKDIR /workspace
USER node
