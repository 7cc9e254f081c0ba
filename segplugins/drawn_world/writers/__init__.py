"""Writers: each turns drawings into one standard on-disk format. They know formats, not scenes."""
