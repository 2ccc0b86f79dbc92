/** npm's @pondwader/socks5-server, as its page shows it; the port is the argument. */
import * as Pondwader from "@pondwader/socks5-server"

const port = Number(process.argv[2])
Pondwader.createServer().listen(port, "127.0.0.1", () => {
  process.stdout.write(`listening on socks5://127.0.0.1:${port}\n`)
})
