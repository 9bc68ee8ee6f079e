# EMCache in a container: not root, and nothing is written but the volume and /tmp, so run it with --read-only.
# test/deploy/dockerfile.test.ts runs these commands in a fresh folder.

FROM node:24-bookworm-slim AS build
WORKDIR /build
COPY . .
RUN npm ci
RUN npm run build
# What is installed is what is published: the packed packages with their production dependencies and nothing else.
RUN mkdir packed && for package in dist/*/; do npm pack "./$package" --pack-destination packed; done
RUN npm install --prefix app --omit=dev --no-audit --no-fund ./packed/*.tgz

FROM node:24-bookworm-slim
ENV NODE_ENV=production
# A number, so that Kubernetes can see that it is not root.
RUN groupadd --gid 10001 emcache && useradd --uid 10001 --gid 10001 --no-create-home --shell /usr/sbin/nologin emcache \
  && mkdir -p /var/lib/emcache /etc/emcache && chown emcache:emcache /var/lib/emcache
COPY --from=build /build/app /app
ENV PATH=/app/node_modules/.bin:$PATH \
  EMCACHE_SERVER__HOST=0.0.0.0 \
  EMCACHE_CACHE__BASE_DIR=/var/lib/emcache/caches \
  EMCACHE_DATA_DIR=/var/lib/emcache/data
WORKDIR /var/lib/emcache
USER 10001:10001
VOLUME /var/lib/emcache
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s CMD ["node", "-e", "fetch('http://127.0.0.1:' + (process.env.EMCACHE_SERVER__PORT ?? 8080) + '/health/live').then((answer) => process.exit(answer.ok ? 0 : 1), () => process.exit(1))"]
# SIGTERM ends it in order: requests and batches in hand are finished, leases given back.
STOPSIGNAL SIGTERM
ENTRYPOINT ["emcache"]
CMD ["serve"]
