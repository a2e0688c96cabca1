# The application as a container:
#   docker build -t zhufu . && docker run -p 7860:7860 -e ZHUFU_PASSWORD='…' -v zhufu:/data zhufu
# It listens to all addresses of the container, so it does not start without ZHUFU_PASSWORD. Browsers that
# reach it by another name than localhost need that name in ZHUFU_ALLOWED_HOSTS.
FROM debian:bookworm-slim

RUN apt-get update \
    && apt-get install -y --no-install-recommends python3 python3-venv ca-certificates \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /app
COPY requirements.txt .
RUN python3 -m venv /opt/zhufu \
    && /opt/zhufu/bin/pip install --no-cache-dir --disable-pip-version-check -r requirements.txt

COPY app.py ./
COPY backend backend
COPY ui ui
COPY migrations migrations
COPY data data
COPY docs docs

ENV PATH=/opt/zhufu/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    ZHUFU_HOME=/data \
    ZHUFU_HOST=0.0.0.0
RUN useradd --system --home-dir /data --create-home zhufu
USER zhufu
VOLUME /data
EXPOSE 7860
HEALTHCHECK --start-period=60s CMD python -c "import urllib.request as u; u.urlopen('http://127.0.0.1:7860/favicon.ico', timeout=5)"
CMD ["python", "app.py"]
