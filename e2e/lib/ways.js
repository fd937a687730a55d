// By which way a browser's media goes.

/** What the selected pairs of a person's peer connections begin with: `host udp`, `prflx tcp`, `relay tls` (how it reaches the relay), … */
export async function waysOf(person) {
  const reports = await person.call('statistics');
  return reports.flatMap((report) => {
    const byId = new Map(report.map((entry) => [entry.id, entry]));
    const pairs = report.filter((entry) => entry.type === 'candidate-pair' && entry.nominated && entry.state === 'succeeded');
    return pairs.map((pair) => byId.get(pair.localCandidateId)).map((local) => `${local?.candidateType} ${local?.relayProtocol ?? local?.protocol}`);
  });
}
