"""What a model needs around its weights, which `rsgrpo_cli.models` loads.

architectures                   which are let in
companions                      the files beside the weights that an export has to have
prompt_tokens, special_tokens   from messages to tokens, and where a completion ends
context_window                  how long a prompt and its completion may be
cuda, full_gpu                  sums in one order on a GPU, and what is said when its memory is full
model_errors                    what is said of a model that cannot be loaded
"""
