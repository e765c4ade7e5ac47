"""Answers of a real vLLM, run by test_vllm.py inside .venv-vllm: a job as JSON on stdin, token ids as JSON in a file.

    .venv-vllm/bin/python tests/e2e/vllm_answers.py OUTPUT < job.json
"""

import json
import sys
from pathlib import Path


def main(output: Path) -> None:
    from vllm import LLM, SamplingParams
    from vllm.sampling_params import StructuredOutputsParams

    job = json.load(sys.stdin)
    llm = LLM(job["model"], dtype="float32", enforce_eager=True, max_model_len=1024, max_num_seqs=32, seed=0)
    prompts = [{"prompt_token_ids": ids} for ids in job["prompts"]]
    free = llm.generate(prompts, SamplingParams(temperature=0, max_tokens=job["max_tokens"]))
    grammar = StructuredOutputsParams(grammar=job["grammar"])
    forced = llm.generate(
        prompts[: job["forced"]], SamplingParams(temperature=0, max_tokens=400, structured_outputs=grammar)
    )
    talks = [[{"role": "user", "content": text}] for text in job["chat"]]
    chat = llm.chat(talks, SamplingParams(temperature=0, max_tokens=1))
    output.write_text(json.dumps({
        "free": [list(answer.outputs[0].token_ids) for answer in free],
        "forced": [list(answer.outputs[0].token_ids) for answer in forced],
        "asked": [list(answer.prompt_token_ids) for answer in chat],
    }))


if __name__ == "__main__":  # vLLM starts processes of its own, which import this file
    main(Path(sys.argv[1]))
