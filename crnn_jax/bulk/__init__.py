"""Reading very many images: from lists, folders and tars, by several processes, resumable."""
