# The image that Codex runs in: its native binary and the host of its code mode, which it
# looks for beside itself. Its own sandbox (bwrap) stays out: the bottle is one.
FROM fetch AS codex
ARG VERSION=0.171.0
ARG SHA512_AMD64=97ae8d664420764d82de96dc7d42c3cf8db2114079f3531503a23e638dd6a78388a84cbbdc709d999d064e37801d8db272e1f8374d1df55b0baf04f58f1b214f
ARG SHA512_ARM64=f73d7bb786db509f540886f8f4ee0fa00fa48bee39ab7addf2767c3de1fab189e52a406577f5e9a3f392de1dd38bde78f9fa2c857e28ee4e53094f0def3cea40
RUN case "$(dpkg --print-architecture)" in \
      amd64) sh npm-fetch @openai/codex "$VERSION-linux-x64" "$SHA512_AMD64" ;; \
      arm64) sh npm-fetch @openai/codex "$VERSION-linux-arm64" "$SHA512_ARM64" ;; \
      *) echo "Codex has no build for this architecture" >&2; exit 1 ;; \
    esac \
 && install -D -m 0755 -t /out package/vendor/*/bin/codex package/vendor/*/bin/codex-code-mode-host

FROM tools
COPY --from=codex /out/ /usr/local/bin/
ENV LANG=C.UTF-8
WORKDIR /workspace
USER node
