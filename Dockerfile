# The program alone: one static binary in a small image, run by nobody in
# particular (65532). Its database and its mail server are elsewhere
# (docker-compose.yml); it listens where MILLRACE_HTTP_ADDRESS says.

FROM golang:1.26.8 AS build
WORKDIR /src
# The modules first: they change rarely, and this layer is then kept.
COPY go.mod go.sum ./
RUN go mod download
COPY . .
RUN CGO_ENABLED=0 go build -trimpath -ldflags="-s -w" -o /out/millrace ./cmd/millrace && mkdir -p /out/data

# Alpine, not an empty image: it has the certificates that TLS to a gateway and
# to a mail server needs, and wget for the health check.
FROM alpine:3.22.2
COPY --from=build /out/millrace /usr/local/bin/millrace
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
