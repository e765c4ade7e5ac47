"""What a server is told: where to listen, what to serve, how much of it anyone may use. One YAML of `serve/` a way."""

from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from tdmm_lm.config import Settings as Section

Backend = Literal["vllm", "transformers", "url"]


class Limits(Section):
    """What one request, one key and all of them may use. Sizes are MiB, times seconds."""

    body_mb: int = Field(48, gt=0)  # a request's body, but for uploads
    bodies_mb: int = Field(512, gt=0)  # bodies that are arriving, all together
    file_mb: int = Field(256, gt=0)  # an uploaded file
    disk_mb: int = Field(4096, gt=0)  # all that a key stores
    disk_total_mb: int = Field(20480, gt=0)  # all that everybody stores
    clip_seconds: float = Field(600.0, gt=0)  # a motion that is read
    video_seconds: float = Field(120.0, gt=0)
    video_pixels: int = Field(8_300_000, gt=0)  # a frame of a video: 4K
    read_seconds: float = Field(60.0, gt=0)  # reading one file
    read_memory_mb: int = Field(4096, gt=0)
    readers: int = Field(2, gt=0)  # child processes that read, export and render at once
    requests_per_minute: int = Field(600, gt=0)  # a key
    concurrent: int = Field(64, gt=0)  # a key's requests in work
    queued: int = Field(256, gt=0)  # everybody's chat requests in work
    videos: int = Field(1, gt=0)  # rendered at once by this process
    queued_videos: int = Field(20, gt=0)  # a key
    fetch_seconds: float = Field(20.0, gt=0)  # getting one URL
    wait_seconds: float = Field(120.0, gt=0)  # for the engine's next piece


class Settings(Section):
    """A server. ``engine`` holds vLLM's own options under vLLM's own names (`max-model-len: 2048`)."""

    backend: Backend = "transformers"
    lm: str | None = None  # a model folder; None is the bundled nano model
    model_name: str = "tdmm-nano"  # what clients put into `model`
    rig: str = "head"  # what a performed motion drives where a request names no other
    rigs: tuple[str, ...] = ("head",)  # those that a request may name: bundled names or folders of `tdmm import`
    host: str = "127.0.0.1"  # loopback: put TLS in front before opening it to others
    port: int = Field(8000, ge=0, le=65535)
    public_url: str | None = None  # what links begin with behind a proxy; None takes the request's own host
    store: str | None = None  # folder of files and motions; None is a temporary one that ends with the server
    database: str | None = None  # SQLAlchemy URL; None is SQLite in the store's folder
    keep_hours: float = Field(168.0, gt=0)  # how long stored things live
    api_keys_variable: str = "TDMM_API_KEY"  # environment variable with keys, commas between; unset means no key
    allowed_hosts: tuple[str, ...] = ()  # whence `video_url` and `motion_url` may be fetched; data URLs always may
    origins: tuple[str, ...] = ()  # pages of other hosts that browsers may let in (CORS)
    web: bool = True  # the studio page at /
    open_metrics: bool = True  # /metrics without a key
    drain_seconds: float = Field(30.0, ge=0)  # after SIGTERM, for requests in work
    limits: Limits = Field(default_factory=lambda: Limits.model_validate({}))
    # backend: vllm
    python: str | None = None  # a Python that has vLLM; None looks at $TDMM_VLLM_PYTHON, .venv-vllm and this one
    replicas: int = Field(1, ge=1, le=64)  # vLLM servers of this gateway
    engine: dict[str, Any] = Field(default_factory=dict)
    environment: dict[str, str] = Field(default_factory=dict)  # of vLLM, for instance VLLM_CPU_KVCACHE_SPACE
    start_seconds: float = Field(600.0, gt=0)  # until vLLM answers
    # backend: url
    urls: tuple[str, ...] = ()  # OpenAI-compatible servers of the same model, each ending in /v1
    url_key_variable: str = "TDMM_BACKEND_KEY"  # environment variable with their key

    @field_validator("engine")
    @classmethod
    def _ours(cls, engine: dict[str, Any]) -> dict[str, Any]:
        """Options that would open what the gateway closes are refused; those that it sets itself too."""
        for name in engine:
            plain = name.replace("_", "-").lstrip("-")
            if plain in OWN:
                raise ValueError(f"{name}: expected options that the gateway does not set itself ({', '.join(OWN)})")
            if plain in REFUSED:
                raise ValueError(f"{name}: not behind this gateway: {REFUSED[plain]}")
        return engine

    @model_validator(mode="after")
    def _fits(self) -> "Settings":
        if self.backend == "url" and not self.urls:
            raise ValueError("urls: expected at least one with backend: url, got none")
        for url in self.urls:
            if not url.startswith(("http://", "https://")):
                raise ValueError(f"urls: expected http(s)://.../v1, got {url!r}")
        if self.rig not in self.rigs:
            object.__setattr__(self, "rigs", (self.rig, *self.rigs))
        return self


OWN = ("model", "host", "port", "api-key", "served-model-name", "uds")
REFUSED = {
    "enable-prompt-embeds": "tensors from clients have corrupted memory before (CVE-2025-62164)",
    "trust-remote-code": "it runs whatever a model folder holds",
    "allowed-local-media-path": "clients would read this machine's files",
}
