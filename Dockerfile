# A board that a team hosts. Make a token first, then serve:
#   docker run --rm -v delm:/data delm-mcp token create alice --board /data/board.db
#   docker run -d -p 8722:8722 -v delm:/data delm-mcp
FROM python:3.13-slim AS build
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY delm_mcp delm_mcp
COPY clients clients
RUN python -m venv /opt/delm && /opt/delm/bin/pip install --no-cache-dir .

FROM python:3.13-slim
COPY --from=build /opt/delm /opt/delm
RUN useradd --system --uid 10001 --home-dir /data delm && install -d -o delm -g delm /data
USER delm
WORKDIR /data
VOLUME /data
EXPOSE 8722
ENV PATH=/opt/delm/bin:$PATH PYTHONDONTWRITEBYTECODE=1
HEALTHCHECK --interval=30s --timeout=5s --start-period=10s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8722/healthz', timeout=4)"]
ENTRYPOINT ["delm-mcp"]
CMD ["serve", "--host", "0.0.0.0", "--board", "/data/board.db"]
