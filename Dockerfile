# codemae in a container, on a CPU or with CUDA:
#   docker build -t codemae .
#   docker build -t codemae:cuda --build-arg TORCH=cu126 .
#   docker run --rm --user "$(id -u):$(id -g)" -v "$PWD:/data" codemae damage --pre before.tif --post after.tif -o out
#   docker run --rm --gpus all codemae:cuda doctor
# The CUDA build needs no CUDA in the image: torch's wheels bring it, the host brings the driver.
FROM python:3.12-slim

# the one library that rasterio's wheels expect of the system and the slim image lacks
RUN apt-get update && apt-get install -y --no-install-recommends libexpat1 && rm -rf /var/lib/apt/lists/*

ARG TORCH=cpu
RUN pip install --no-cache-dir uv
WORKDIR /src
COPY pyproject.toml README.md LICENSE NOTICE ./
COPY codemae_geo codemae_geo
COPY datasets datasets
COPY train train
COPY cli cli
RUN uv pip install --system --no-cache --torch-backend "${TORCH}" torch torchvision \
    && uv pip install --system --no-cache ".[detection]"

# not root; with --user the results belong to whoever runs it, whose number has no home in the image
ENV HOME=/tmp
USER 1000
WORKDIR /data
ENTRYPOINT ["codemae"]
CMD ["--help"]
