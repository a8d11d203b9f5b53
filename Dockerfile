# The zoo on a processor. Build: docker build -t d2l-zoo . ; run: docker run --rm d2l-zoo models
FROM python:3.12-slim

# For instance `--extra-index-url ...` for a torch build without CUDA, which makes the image much smaller.
ARG PIP_OPTIONS=""

WORKDIR /opt/d2l-zoo
COPY pyproject.toml README.md LICENSE ./
COPY zoo zoo
COPY datamodules datamodules
COPY callbacks callbacks
COPY search search
COPY zoo_cli zoo_cli
COPY configs configs
RUN pip install --no-cache-dir ${PIP_OPTIONS} .

# Nobody needs root to train; mount data and runs below /workspace.
RUN useradd --create-home zoo && mkdir /workspace && chown zoo /workspace
USER zoo
WORKDIR /workspace
ENV ZOO_DATA_DIR=/workspace/data

ENTRYPOINT ["d2l-zoo"]
CMD ["--help"]
