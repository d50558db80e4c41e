# One image for every command: serve, work, migrate. Jobs are mounted at /jobs, or copied there in
# an image built FROM this one.

FROM python:3.13-slim-bookworm AS build

RUN pip install --no-cache-dir uv==0.13.9

ENV UV_PROJECT_ENVIRONMENT=/opt/venv \
    UV_COMPILE_BYTECODE=1 \
    UV_LINK_MODE=copy \
    UV_NO_CACHE=1 \
    UV_PYTHON_DOWNLOADS=never

WORKDIR /build

# the dependencies first: this layer stays as long as the lock file does
COPY pyproject.toml uv.lock README.md LICENSE ./
RUN uv sync --frozen --no-dev --extra mysql --extra otel --no-install-project

COPY service service
COPY workers workers
COPY client client
RUN uv sync --frozen --no-dev --extra mysql --extra otel --no-editable


FROM python:3.13-slim-bookworm

LABEL org.opencontainers.image.title="program-executor" \
      org.opencontainers.image.description="Runs programs: ordered lists of jobs that finish no matter what breaks." \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.licenses="MIT"

# numeric below, so that Kubernetes can see that it is not root
RUN groupadd --gid 10001 executor \
    && useradd --uid 10001 --gid 10001 --no-log-init --no-create-home --home-dir /nonexistent \
        --shell /usr/sbin/nologin executor

COPY --from=build /opt/venv /opt/venv

# nothing is written: the root file system may be read-only
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONPATH=/jobs \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1

WORKDIR /jobs
USER 10001:10001
EXPOSE 8080 8081
STOPSIGNAL SIGTERM

# A container is healthy when its API or its worker answers. http.client asks no proxy, and -I sees
# no module of /jobs, whatever its name.
# The rule means the CMD of an image; here a shell is wanted, for the ports.
# hadolint ignore=DL3025
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s \
    CMD for port in "${PROGRAM_EXECUTOR_PORT:-8080}" "${PROGRAM_EXECUTOR_WORKER_PORT:-8081}"; do \
            python -I -c "import http.client, sys; \
                api = http.client.HTTPConnection('127.0.0.1', int(sys.argv[1]), timeout=2); \
                api.request('GET', '/livez'); \
                sys.exit(api.getresponse().status != 200)" "$port" 2>/dev/null && exit 0; \
        done; \
        exit 1

ENTRYPOINT ["program-executor"]
CMD ["--help"]
