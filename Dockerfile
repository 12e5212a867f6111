# codemae in a container, on a CPU or with CUDA:
#   docker build -t codemae .
#   docker build -t codemae:cuda --build-arg TORCH=cu126 .
#   docker run --rm -v "$PWD:/data" codemae damage --pre before.tif --post after.tif -o out
#   docker run --rm --gpus all -v "$PWD:/data" codemae:cuda doctor
# The CUDA build needs no CUDA in the image: torch's wheels bring it, the host brings the driver.
FROM python:3.12-slim

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

# results belong to whoever runs the container with --user
RUN useradd --create-home codemae
USER codemae
ENV HF_HOME=/tmp/huggingface
WORKDIR /data
ENTRYPOINT ["codemae"]
CMD ["--help"]
