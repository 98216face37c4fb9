# The image that Claude Code runs in: its native binary, without Node or npm.
FROM fetch AS claude
ARG VERSION=2.1.330
ARG SHA512_AMD64=f469fe57b0ed27c3359f3b4ff42783565f60dd1b6b7a923bace153c8f4519d97bc0facde6c81ca982ecebc16aeb9cb803f45f493ce520cdfcb3d56728ec19ecd
ARG SHA512_ARM64=578c9a9c0639100e54a70c113ed8d27ea0db36a0255097959f7358670d808264478dda52b0bb470336f14577e40276e3c135f3134b9e763431518d360113dcb0
RUN case "$(dpkg --print-architecture)" in \
      amd64) sh npm-fetch @anthropic-ai/claude-code-linux-x64 "$VERSION" "$SHA512_AMD64" ;; \
      arm64) sh npm-fetch @anthropic-ai/claude-code-linux-arm64 "$VERSION" "$SHA512_ARM64" ;; \
      *) echo "Claude Code has no build for this architecture" >&2; exit 1 ;; \
    esac \
 && install -D -m 0755 package/claude /out/claude

FROM tools
COPY --from=claude /out/claude /usr/local/bin/claude
ENV LANG=C.UTF-8
WORKDIR /workspace
USER node
