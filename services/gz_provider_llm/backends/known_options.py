"""The names that model servers take in `options`, so that a mistyped one is not passed over in silence. Pure.

Servers of local models ignore what they do not know; OpenAI and Anthropic refuse it themselves. A server may know more
than stands here: hence a warning, and no error.
"""

from collections.abc import Collection
from typing import Final

from gleitzeit.schemas.words import near

_OPENAI: Final = """
    audio best_of echo encoding_format dimensions frequency_penalty function_call functions input logit_bias logprobs
    max_completion_tokens max_tokens messages metadata modalities model n parallel_tool_calls prediction
    presence_penalty prompt prompt_cache_key prompt_cache_retention reasoning_effort response_format safety_identifier
    seed service_tier stop store stream stream_options suffix temperature tool_choice tools top_logprobs top_p user
    verbosity web_search_options
"""
_LLAMA_CPP: Final = """
    add_generation_prompt cache_prompt chat_template_kwargs dry_allowed_length dry_base dry_multiplier
    dry_penalty_last_n dry_sequence_breakers dynatemp_exponent dynatemp_range grammar grammar_lazy id_slot ignore_eos
    json_schema lora min_keep min_p mirostat mirostat_eta mirostat_tau n_cache_reuse n_discard n_indent n_keep n_predict
    n_probs parse_tool_calls post_sampling_probs reasoning_format repeat_last_n repeat_penalty return_progress
    return_tokens samplers t_max_predict_ms thinking_forced_open timings_per_token top_k top_n_sigma typical_p
    xtc_probability xtc_threshold
"""
_OTHERS: Final = """
    add_special_tokens allowed_token_ids bad_words cache_salt chat_template continue_final_message documents ebnf
    guided_choice guided_decoding_backend guided_grammar guided_json guided_regex include_reasoning
    include_stop_str_in_output keep_alive kv_transfer_params length_penalty logits_processors lora_path
    mm_processor_kwargs min_tokens models plugins priority prompt_logprobs provider reasoning regex repetition_penalty
    request_id return_token_ids return_tokens_as_token_ids route separate_reasoning session_params skip_special_tokens
    spaces_between_special_tokens stop_token_ids stream_reasoning structured_outputs thinking transforms
    truncate_prompt_tokens ttl usage use_beam_search vllm_xargs
"""
COMPATIBLE: Final = frozenset(f"{_OPENAI} {_LLAMA_CPP} {_OTHERS}".split())
"""Of llama.cpp, vLLM, SGLang, LM Studio and others that speak OpenAI's API."""

_OLLAMA: Final = """
    dimensions draft_num_predict f16_kv format frequency_penalty keep_alive logits_all logprobs low_vram main_gpu min_p
    mirostat mirostat_eta mirostat_tau num_batch num_ctx num_gpu num_gqa num_keep num_predict num_thread numa
    penalize_newline presence_penalty repeat_last_n repeat_penalty rope_frequency_base rope_frequency_scale seed shift
    stop suffix template temperature tfs_z think top_k top_logprobs top_p truncate typical_p use_mlock use_mmap
    vocab_only
"""
OLLAMA: Final = frozenset(_OLLAMA.split())


def warnings_about(given: Collection[str], known: Collection[str], provider: str) -> list[str]:
    """One sentence for each name that is not known; none where nothing is `known`: then the server complains."""
    return [
        f"options: {provider} knows no {name}{_meant(name, known)}; the server may have ignored it"
        for name in sorted(given)
        if known and name not in known
    ]


def _meant(name: str, known: Collection[str]) -> str:
    suggestion = near(name, sorted(known))
    return f" (did you mean {suggestion}?)" if suggestion else ""
