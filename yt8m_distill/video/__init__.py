"""From films to features; decoding needs the extra `video`."""
