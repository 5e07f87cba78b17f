"""Run vLLM's OpenAI-compatible server with bounded connections. Takes the arguments of vLLM's api_server.

    python -m entitune.serving.vllm_process --model MODEL ...

vLLM passes no protocol class to uvicorn, so this replaces the one that uvicorn chooses by itself.
"""

from __future__ import annotations

import runpy


def main() -> None:
    """Run vLLM's server with the arguments of the command line."""
    import uvicorn.config  # only where vLLM is

    from entitune.serving.connections import BoundedConnection

    uvicorn.config.HTTP_PROTOCOLS["auto"] = BoundedConnection
    uvicorn.config.WS_PROTOCOLS["auto"] = None  # an upgraded connection would leave the bounds
    runpy.run_module("vllm.entrypoints.openai.api_server", run_name="__main__")


if __name__ == "__main__":
    main()
