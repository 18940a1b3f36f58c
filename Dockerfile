# The image of all workloads; the command chooses: run ingest, run query, run worker, run repair, run operator, schema apply.
#
#   build    everything that is only needed to install: uv, the packages with their hashes, the bytecode
#   (last)   the base, the environment made above, and the SQL files; user 65532, nothing to be written
#
# Build arguments: BASE (any image with Python 3.11 or later at the same path in both stages), VERSION, REVISION,
# EXTRAS (`local` brings the reloader that skaffold's profile `dev` needs), and PIP_INDEX_URL and UV_DEFAULT_INDEX
# where packages come from another index.

ARG BASE=python:3.13-slim

FROM ${BASE} AS build
ARG PIP_INDEX_URL
ARG UV_DEFAULT_INDEX
ARG EXTRAS
WORKDIR /src
COPY requirements.lock pyproject.toml ./
RUN sed -n '/^uv==/,/[^\\]$/p' requirements.lock >uv.lock && python3 -m venv /build \
 && /build/bin/pip install --no-cache-dir --require-hashes --requirement uv.lock
# The lock holds the extras too; as a constraint it gives versions and hashes to the workloads' own packages alone.
RUN python3 -m venv --without-pip /opt/millrace && echo millrace-client >excluded \
 && /build/bin/uv pip install --no-cache --python /opt/millrace --require-hashes --compile-bytecode \
      --requirement pyproject.toml ${EXTRAS:+--extra $EXTRAS} --constraint requirements.lock --excludes excluded
COPY README.md LICENSE /opt/millrace/
COPY services /opt/millrace/services
COPY clients/python/src /opt/millrace/client
COPY sql /opt/millrace/sql
# The services stand beside sql/, as in a clone; a .pth file and this script are all that an installation would add.
RUN printf '/opt/millrace\n/opt/millrace/client\n' >"$(/opt/millrace/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/millrace.pth" \
 && printf '#!/opt/millrace/bin/python\nfrom services.cli import main\n\nmain()\n' >/opt/millrace/bin/millrace \
 && chmod 755 /opt/millrace/bin/millrace \
 && /opt/millrace/bin/python -m compileall -q --invalidation-mode unchecked-hash /opt/millrace/services /opt/millrace/client

FROM ${BASE}
ARG VERSION=dev
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Millrace" \
      org.opencontainers.image.description="Sensor readings over HTTP, through a durable Redis stream, exactly once into TimescaleDB" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=build /opt/millrace /opt/millrace
ENV PATH=/opt/millrace/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
USER 65532:65532
WORKDIR /opt/millrace
ENTRYPOINT ["millrace"]
CMD ["--help"]
