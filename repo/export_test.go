package repo

// ReadMemoryHeld is how many bytes of decoded data all readers hold.
func ReadMemoryHeld(r *Repository) int64 {
	free := int64(0)
	for step := r.memory.limit; step > 0; {
		if r.memory.try(step) {
			free += step
		} else {
			step /= 2
		}
	}
	r.memory.free.Release(max(free, 0))
	return r.memory.limit - free
}
