def ensure_sample(): raise NotImplementedError
