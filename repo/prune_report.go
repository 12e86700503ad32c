package repo

// summarize fills in what the plan comes to.
func (p *pruner) summarize() {
	r := p.report
	*r = PruneReport{
		DryRun: r.DryRun, Snapshots: r.Snapshots, Notes: r.Notes,
		PacksUnindexed: r.PacksUnindexed, PacksTooYoung: r.PacksTooYoung,
	}
	for _, o := range p.orphans {
		r.BytesFreed += o.size
	}
	for n := range p.packs {
		s := &p.packs[n]
		r.BlobsUsed += s.usedBlobs
		r.BlobsDuplicate += s.neededBlobs - s.usedBlobs
		r.BlobsUnused += s.data + s.trees - s.neededBlobs
		r.BytesUsed += s.used
		r.BytesDuplicate += s.needed - s.used
		r.BytesUnused += s.total - s.needed
		switch p.verdicts[n] {
		case keepPack:
			r.PacksKept++
			r.BytesLeftUnused += s.unused()
		case repackPack:
			r.PacksRepacked++
			r.BytesRepacked += s.used
			r.BytesFreed += s.size - s.used
		case dropPack:
			if s.size >= 0 { // else it is only listed
				r.PacksDeleted++
				r.BytesFreed += s.size
			}
		}
	}
}
