# semcycle on CPU: slim, not as root, nothing is loaded at run time. Not built by us: see docs/how-to/containers.md.
FROM python:3.11-slim AS build
ARG PIP_EXTRA_INDEX_URL=""
WORKDIR /source
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY src src
COPY recipes recipes
RUN python -m venv /opt/semcycle \
 && /opt/semcycle/bin/pip install --no-cache-dir -c constraints.txt '.[skull,dicom]'

FROM python:3.11-slim
RUN useradd --create-home --uid 1000 semcycle
COPY --from=build /opt/semcycle /opt/semcycle
ENV PATH=/opt/semcycle/bin:$PATH MPLCONFIGDIR=/tmp/matplotlib
USER 1000
WORKDIR /data
ENTRYPOINT ["semcycle"]
CMD ["--help"]
