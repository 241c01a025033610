"""The configuration of a training: fields, presets and command-line flags."""
