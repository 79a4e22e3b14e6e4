# The program alone: one static binary in a small image, run by nobody in
# particular (65532). Its database and its mail server are elsewhere
# (docker-compose.yml); it listens on MILLRACE_HTTP_ADDRESS.
#
# Images are named by version, here and in docker-compose.yml. To build for
# production, pin the digest of a version, for all platforms:
#
#   docker buildx imagetools inspect IMAGE:VERSION --format '{{.Manifest.Digest}}'
#
# and write FROM IMAGE:VERSION@sha256:… (the digest wins over the version).

FROM golang:1.26.8 AS build
WORKDIR /src
# The modules first: they change rarely, and this layer is then kept.
COPY go.mod go.sum ./
RUN go mod download
COPY . .
# The commit, for `millrace version` and /openapi.json: the repository itself is
# not sent to the engine. docker build --build-arg COMMIT=$(git rev-parse HEAD) .
ARG COMMIT=""
RUN CGO_ENABLED=0 go build -trimpath -ldflags="-s -w -X main.commit=${COMMIT}" -o /out/millrace ./cmd/millrace && mkdir -p /out/data

# Alpine, not an empty image: it has the certificates that TLS to a gateway and
# to a mail server needs, and wget for the health check.
FROM alpine:3.22.2
COPY --from=build /out/millrace /usr/local/bin/millrace
# Its own licence, and those of what it contains.
COPY LICENSE THIRD_PARTY_NOTICES.txt /licenses/
# A named volume mounted here takes over the owner.
COPY --from=build --chown=65532:65532 /out/data /var/lib/millrace
ENV MILLRACE_DATA_DIR=/var/lib/millrace
WORKDIR /var/lib/millrace
USER 65532:65532
EXPOSE 8080
# SIGTERM: it finishes what is in flight, in less than 25 s.
STOPSIGNAL SIGTERM
ENTRYPOINT ["/usr/local/bin/millrace"]
CMD ["serve"]
