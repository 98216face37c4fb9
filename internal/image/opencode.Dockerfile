# The image that opencode runs in: its native binary (for any x86-64, whatever its age).
FROM fetch AS opencode
ARG VERSION=1.18.18
ARG SHA512_AMD64=e86bc56ab84fd290e25dc13d02ef0f5a8a9bf7e64b04818aae1671795026389a7f809f252cbd449e8f0ed6aa6a45bd4a8ce7ce68e0fbd631eef7135aaa68c4b7
ARG SHA512_ARM64=7bc0f7834a89108cdac04836fb2816def9198c060bdacb32031e066e2863c17c1916f959672e734565b3773e4a2c1a07493974141ef7bcdb6735e5ce3721e955
RUN case "$(dpkg --print-architecture)" in \
      amd64) sh npm-fetch opencode-linux-x64-baseline "$VERSION" "$SHA512_AMD64" ;; \
      arm64) sh npm-fetch opencode-linux-arm64 "$VERSION" "$SHA512_ARM64" ;; \
      *) echo "opencode has no build for this architecture" >&2; exit 1 ;; \
    esac \
 && install -D -m 0755 package/bin/opencode /out/opencode

FROM tools
COPY --from=opencode /out/opencode /usr/local/bin/opencode
ENV LANG=C.UTF-8
WORKDIR /workspace
USER node
