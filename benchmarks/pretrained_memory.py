"""Memory of a training step from a pretrained model: everything trained, or adapters over a base held in five ways.

    python benchmarks/pretrained_memory.py [--quick] [--json] [--topology cpu:1] [--sizes 135m 1b 8b]

The compiler's figures (arguments and temporaries) for the steps of configs/qlora_*.py on one device, with rows of 2 x
256 for the 135M model and 2 x 2,048 for the others; nothing is computed. On CPUs activations are f32, on TPUs bf16.
"""

from dataclasses import replace

from figures import Figure, parser, publish

from biomechgpt_jax import config, overrides
from biomechgpt_jax.compiling.report import report

SIZES = {"135m": ("smollm2", 256), "1b": ("llama3_1b", 2048), "8b": ("llama3_8b", 2048)}
MIB, SHARE = 2**20, 0.20
WAYS = {
    "full": {"base": "float32", "table": "float32", "text_rows": 0, "adapter": config.Adapter()},  # one table
    "LoRA": {"base": "float32", "table": "float32"},
    "LoRA bf16": {"base": "bfloat16"},
    "int8": {"base": "int8"},
    "NF4": {"base": "nf4", "double_scales": True},
}


def experiment_of(size: str, way: str) -> config.Experiment:
    """The step of a size and a way."""
    name, length = SIZES[size]
    made = overrides.load(f"configs/qlora_{name}.py")
    pieces = made.model.text_rows
    return replace(
        made,
        tokenizer=replace(made.tokenizer, text_pieces=pieces),
        model=replace(made.model, **({"double_scales": False} | WAYS[way])),
        pack=replace(made.pack, row_length=length),
        train=replace(made.train, batch_size=2),
    )


def main() -> None:
    """Compile and print."""
    words = parser(__doc__ or "")
    words.add_argument("--quick", action="store_true", help="the smallest model alone")
    words.add_argument("--topology", default="cpu:1")
    words.add_argument("--sizes", nargs="+", choices=list(SIZES))
    arguments = words.parse_args()
    figures: dict[str, Figure] = {}
    for size in arguments.sizes or (["135m"] if arguments.quick else list(SIZES)):
        taken: dict[str, float] = {}
        for way in WAYS:
            memory = report(experiment_of(size, way), arguments.topology).memory
            if memory.arguments is None or memory.temporary is None:
                figures[f"{size} {way}"] = Figure(None, "MiB, does not fit")
                continue
            taken[way] = (memory.arguments + memory.temporary) / MIB
            note = f"arguments {memory.arguments / MIB:,.0f}, temporaries {memory.temporary / MIB:,.0f}"
            figures[f"{size} {way}"] = Figure(taken[way], "MiB", note=note)
        if {"full", "NF4"} <= taken.keys():
            bar = SHARE if size == "135m" else None
            figures[f"{size} NF4 / full"] = Figure(taken["NF4"] / taken["full"], "", bar)
    publish("pretrained_memory", figures, arguments.json)


if __name__ == "__main__":
    main()
