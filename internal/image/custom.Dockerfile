# The image of a command line of one's own, until a Dockerfile or an image adds it: the
# tools that every agent has.
FROM tools
ENV LANG=C.UTF-8
WORKDIR /workspace
USER node
