"""Run vLLM's OpenAI-compatible server with limited connections. Takes the arguments of vLLM's api_server.

    python -m entitune.serving.vllm_process --model MODEL ...

vLLM passes no protocol class to uvicorn, so this replaces uvicorn's default.
"""

from __future__ import annotations

import runpy


def main() -> None:
    """Run vLLM's server with the arguments of the command line."""
    import uvicorn.config  # only vLLM's environment has it

    from entitune.serving.connections import BoundedConnection

    uvicorn.config.HTTP_PROTOCOLS["auto"] = BoundedConnection
    uvicorn.config.WS_PROTOCOLS["auto"] = None  # an upgraded connection would have no limits
    runpy.run_module("vllm.entrypoints.openai.api_server", run_name="__main__")


if __name__ == "__main__":
    main()
