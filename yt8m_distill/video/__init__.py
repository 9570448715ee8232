"""From films to features: decoding, image networks, sound, projections, extraction."""
