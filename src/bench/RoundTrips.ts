/** `--mode round-trip`: 64 bytes there and back over connections that stay open. */
import * as Failure from "./Failure.ts"
import type { Driver, Load } from "./Load.ts"
import * as Pacer from "./Pacer.ts"
import * as Pattern from "./Pattern.ts"
import type { Tunnel } from "./Tunnel.ts"

const size = 64

interface Peer {
  readonly tunnel: Tunnel
  readonly number: number
  trips: number
  /** What of its message is back; `size` when nothing is under way. */
  back: number
  message: Buffer
}

export const make = (load: Load): Driver => {
  const { rate } = load.job
  const peers: Array<Peer> = []
  let working = false
  let underWay = 0
  let next = 0
  let onDone: (() => void) | undefined

  const shoot = (peer: Peer, due: number): void => {
    peer.message = Pattern.at(peer.number, size * peer.trips++, size)
    peer.back = 0
    underWay++
    load.expect(peer.tunnel, due)
    peer.tunnel.write(peer.message)
  }

  const settle = (): void => {
    underWay--
    if (!working && underWay === 0) onDone?.()
  }

  const receive = (peer: Peer, chunk: Buffer): void => {
    const end = peer.back + chunk.length
    if (end > size || peer.message.compare(chunk, 0, chunk.length, peer.back, end) !== 0) {
      return peer.tunnel.fail(Failure.wrongBytes)
    }
    peer.back = end
    if (end < size) return
    const now = performance.now()
    load.answered(peer.tunnel, now)
    load.units++
    settle()
    if (working && rate === undefined) shoot(peer, now)
  }

  const add = (tunnel: Tunnel, number: number): void => {
    const peer: Peer = { tunnel, number, trips: 0, back: size, message: Buffer.alloc(0) }
    peers.push(peer)
    tunnel.onData = (chunk) => receive(peer, chunk)
    const lost = tunnel.onFailure
    tunnel.onFailure = (kind) => {
      lost(kind)
      peers.splice(peers.indexOf(peer), 1)
      if (peer.back < size) settle()
    }
  }

  /** Takes the connections in turn, past those that are busy. */
  const pacer = rate === undefined ? undefined : Pacer.make(rate, (due) => {
    for (let tried = 0; tried < peers.length; tried++) {
      const peer = peers[next++ % peers.length]
      if (peer === undefined || peer.back < size) continue
      shoot(peer, due)
      return true
    }
    return false
  })

  return {
    open: (ready) =>
      load.openAll((tunnel, number, opened) => {
        add(tunnel, number)
        opened()
      }, ready),
    go: () => {
      working = true
      if (pacer !== undefined) return pacer.start()
      const now = performance.now()
      for (const peer of peers) shoot(peer, now)
    },
    stop: (done) => {
      working = false
      pacer?.stop()
      if (underWay === 0) return done()
      onDone = done
    }
  }
}
