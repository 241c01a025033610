"""Worker processes that run models. They use all cores; the threads of one process would share an interpreter."""
