"""Which files of public text bench/tokenizer.py learns from, holds out and never learns from.

Learnt from are only files with a permissive, public-domain or attribution licence; every kind of
source is held out in one of the folds.
"""


def _names(text: str) -> list[str]:
    return text.split()


SOURCES = {
    "ko": _names("""ko_president_speeches ko_laws ko_bible_krv ko_nsmc_reviews ko_python_docs
        ko_msdocs_cpp ko_libreoffice_help ko_msdocs_visualstudio ko_pytorch_tutorials ko_react_dev
        ko_tensorflow_docs ko_debian_docs ko_news_comments_toxic ko_fastapi_docs ko_d2l
        ko_tldr_pages ko_typescript_handbook ko_diffusers_docs ko_news_sentences ko_elixir_school
        ko_hf_course_diffusers ko_cs_interview_jbee ko_prompt_guide chat_ko_songys
        chat_ko_rmjudge_reference pref_ko_rmjudge"""),
    "en": _names("""en_python_docs en_debian_misc_docs en_movie_reviews en_debian_handbook
        en_tinyshakespeare en_bible_ylt en_wikipedia_demo pref_en_dpo_demo
        chat_en_toolcall_demo"""),
    "code": _names("""code_python_stdlib code_thealgorithms_python code_thealgorithms_java
        code_thealgorithms_c code_thealgorithms_javascript chat_en_gpteacher_codegen"""),
    "math": _names("math_gsm8k_train math_napkin math_kor_mwp_train"),
}
FOLDS = {
    "1": _names("""ko_news_sentences ko_nsmc_reviews ko_python_docs ko_fastapi_docs
        en_wikipedia_demo en_debian_handbook code_thealgorithms_python math_napkin"""),
    "2": _names("""ko_president_speeches ko_news_comments_toxic ko_react_dev ko_cs_interview_jbee
        en_movie_reviews en_python_docs code_python_stdlib math_kor_mwp_train"""),
    "3": _names("""ko_laws ko_bible_krv chat_ko_songys chat_ko_rmjudge_reference ko_d2l
        en_tinyshakespeare en_debian_misc_docs code_thealgorithms_java math_gsm8k_train"""),
}
UNSEEN = {  # file -> the column that is text
    "train/ko_petitions": "text",
    "eval/korquad_dev": "context",
    "eval/korsts_dev": "sentence1",
    "eval/nsmc_sentiment_ko": "document",
    "train/en_c4_demo": "text",
    "eval/mbpp": "reference",
    "eval/gsm8k_test": "question",
}
UNSEEN_PACKAGES = ("gguf", "huggingface_hub", "pydantic", "torch/nn")
"""Of the installed packages, which constraints.txt pins: the Python that people write today."""

KINDS = {
    "ko prose": _names("""ko_news_sentences ko_president_speeches ko_laws ko_petitions korquad_dev
        korsts_dev"""),
    "ko archaic": ["ko_bible_krv"],
    "ko informal": _names("ko_nsmc_reviews ko_news_comments_toxic nsmc_sentiment_ko"),
    "ko chat": _names("chat_ko_songys chat_ko_rmjudge_reference"),
    "ko docs": _names("ko_python_docs ko_fastapi_docs ko_react_dev ko_cs_interview_jbee ko_d2l"),
    "en prose": _names("en_wikipedia_demo en_movie_reviews en_tinyshakespeare en_c4_demo"),
    "en technical": _names("en_debian_handbook en_python_docs en_debian_misc_docs"),
    "python": _names("code_thealgorithms_python code_python_stdlib mbpp packages"),
    "java": ["code_thealgorithms_java"],
    "math": _names("math_napkin math_kor_mwp_train math_gsm8k_train gsm8k_test"),
}
