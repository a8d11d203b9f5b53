"""Side effects of a run: pictures, progress, records. They write into ``trainer.default_root_dir``."""
