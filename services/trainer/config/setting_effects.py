"""What the fields of `TrainConfig` decide: where a run trains, what it is called, when it ends, or what it learns.

Each set contains the one before. A field that is in none of them decides what a model learns.
"""

# Where a run trains. These may change when the run is resumed.
WHERE_IT_TRAINS = frozenset({"device", "jobs", "max_gpu_temperature"})

# Also what the model is called and whether it is published. Two runs that differ only in these learn the same.
WITHOUT_EFFECT_ON_LEARNING = WHERE_IT_TRAINS | {"model_name", "publish"}

# Also which members there are, and when a training ends. Two trainings that differ only in these compute the same
# epochs, so one can continue from the state of the other.
WITHOUT_EFFECT_ON_EPOCHS = WITHOUT_EFFECT_ON_LEARNING | {
    "preset", "seeds", "folds", "target_accuracy", "train_past_target", "patience"
}  # fmt: skip
