// Ogatak's engine, query, node, board and SGF modules run in node, without Electron and its window.
//
//     node tests/clients/ogatak_engine.js CHECKOUT KATAGO CONFIG MODEL
//     node tests/clients/ogatak_engine.js CHECKOUT --gtp COMMAND ARGUMENT…
//
// CHECKOUT is a checkout of Ogatak, which ships in no package; the other three are what its user sets up: the path of a
// katago (one script that runs `agent katago "$@"`), of a .cfg and of a network. With --gtp its other engine class
// reads GTP from a command of which the path must be absolute. What its window would have shown as an
// alert is a failure; it also compares the Zobrist hash of every position with its own. Prints one JSON object.

'use strict'

const assert = require('assert')
const fs = require('fs')
const Module = require('module')
const os = require('os')
const path = require('path')

const [checkout, ...given] = process.argv.slice(2)
const isGtp = given[0] === '--gtp'
const modules = path.resolve(checkout, 'src', 'modules')
const STEP_MS = 60000
const GAME =
  '(;GM[1]FF[4]SZ[13:9]KM[6.5]RU[Japanese]PL[B];B[dd];W[jf];B[jd];W[df];B[gh];W[];B[gb];W[kd];B[ke];W[je];B[ie];W[kf])'
const SETUP = '(;GM[1]FF[4]SZ[19]KM[0.5]RU[Chinese]HA[2]AB[dp][pd]PL[W];W[dd];B[pp]AE[dd];W[cd])'

// ---------------------------------------------------------------- the window

const alerts = []
const electron = {ipcRenderer: {send() {}, on() {}}}
const load = Module._load
Module._load = (name, ...rest) => (name === 'electron' ? electron : load(name, ...rest))

const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'ogatak-'))
global.user_data_path = folder
global.alert = message => alerts.push(String(message))
global.stderrbox = {receive() {}, show() {}, hide() {}}
const config_io = require(path.join(modules, 'config_io'))
config_io.load()
const {valid_analysis_object, node_id_from_search_id} = require(path.join(modules, 'utils'))
const new_engine = require(path.join(modules, isGtp ? 'engine_gtp' : 'engine'))
const load_sgf = require(path.join(modules, 'load_sgf'))

// What hub.js does with an answer: give it to the node that was asked about.
class Hub {
  constructor() {
    this.node = null
    this.received = 0
    this.listeners = []
  }

  receive_object(o) {
    this.received += 1
    if (valid_analysis_object(o) && this.node && node_id_from_search_id(o.id) === this.node.id) {
      this.node.receive_analysis(o)
    }
    for (let listener of [...this.listeners]) listener(o)
  }

  until(what, is_so) {
    return new Promise((resolve, reject) => {
      let timer = setTimeout(() => reject(new Error(`nothing for ${STEP_MS / 1000} s: ${what}`)), STEP_MS)
      let listener = o => {
        if (!alerts.length && !is_so(o)) return
        clearTimeout(timer)
        this.listeners = this.listeners.filter(x => x !== listener)
        alerts.length ? reject(new Error(`${what}: ${alerts.join(' | ')}`)) : resolve(o)
      }
      this.listeners.push(listener)
    })
  }
}

const hub = (global.hub = new Hub())
const engine = new_engine()

function read(text) {
  return load_sgf(Buffer.from(text)).get_roots()[0]
}

function main_line(root) {
  let nodes = [root]
  while (nodes[nodes.length - 1].children.length) nodes.push(nodes[nodes.length - 1].children[0])
  return nodes
}

async function analyse(node, visits, avoid) {
  hub.node = node
  let enough = hub.until(`${visits} visits at move ${node.depth}`, o => {
    let is_ours = valid_analysis_object(o) && node_id_from_search_id(o.id) === node.id
    return is_ours && o.rootInfo.visits >= visits
  })
  engine.analyse(node, visits, avoid)
  let o = await enough
  let board = node.get_board()
  assert.strictEqual(o.ownership.length, board.width * board.height)
  if (!isGtp) assert.strictEqual(o.policy.length, board.width * board.height + 1)
  for (let info of o.moveInfos) {
    // Native KataGo, too, has no line of play for a pass that a rule of its own made it try.
    assert(info.pv[0] === info.move || (info.move === 'pass' && !info.pv.length), JSON.stringify(info.pv))
    assert(isGtp || info.ownership.length === o.ownership.length, 'ownership of a move')
  }
  assert(o.moveInfos[0].order === 0 && node.stored_winrate() >= 0 && node.stored_winrate() <= 1)
  assert.strictEqual(typeof node.stored_score(), 'number')
  return o
}

// Neither class tells anybody that a search has ended.
async function quiet() {
  let end = Date.now() + STEP_MS
  while (engine.running) {
    assert(Date.now() < end, 'the search does not end')
    await new Promise(resolve => setTimeout(resolve, 20))
  }
}

const steps = {
  async starts() {
    let version = hub.until('the version', o => o.action === 'query_version')
    if (isGtp) engine.setup_with_command(given[1], given.slice(2))
    else engine.setup(...given)
    assert.strictEqual(engine.problem_text(), '')
    await version
    if (isGtp) return `${engine.known_commands.length} commands`
    assert(engine.version[0] >= 1 && engine.version[1] >= 12, engine.version.join('.'))
    return engine.version.join('.')
  },

  async analyses_a_game() {
    let nodes = main_line(read(GAME))
    for (let node of nodes) await analyse(node, 30)
    return `${nodes.length} positions`
  },

  async analyses_setups_and_avoids() {
    let nodes = main_line(read(SETUP))
    for (let node of nodes) await analyse(node, 10)
    if (isGtp) return `${nodes.length} positions`
    let last = nodes[nodes.length - 1]
    let best = last.analysis.moveInfos[0].move
    let other = await analyse(last, 11, [last.get_board().parse_gtp_move(best)])
    assert(other.moveInfos.every(x => x.move !== best), best)
    return `${nodes.length} positions, without ${best}`
  },

  async knows_every_rule_set() {
    let names = ['Japanese', 'Chinese', 'Stone_Scoring', 'AGA', 'New Zealand', 'Tromp-Taylor', 'Korean']
    for (let name of names) await analyse(read(`(;GM[1]FF[4]SZ[9]KM[7]RU[${name}];B[ee];W[ce])`).children[0], 5)
    return names.join(', ')
  },

  async ponders_through_a_game() {
    // Without a limit of visits, as the user scrolls: a terminate and the next query each time.
    let nodes = main_line(read(GAME))
    let before = hub.received
    for (let node of [...nodes, ...nodes.reverse()]) {
      hub.node = node
      let answered = hub.until(`an answer at move ${node.depth}`, o => {
        return valid_analysis_object(o) && node_id_from_search_id(o.id) === node.id
      })
      engine.analyse(node)
      await answered
    }
    engine.halt()
    await quiet()
    return `${hub.received - before} answers`
  },

  async quits() {
    let exe = engine.exe
    let ended = new Promise(resolve => exe.once('exit', resolve))
    engine.shutdown()
    await ended
    return ''
  },
}

async function main() {
  let done = []
  for (let [name, step] of Object.entries(steps)) {
    try {
      let detail = await step()
      assert.deepStrictEqual(alerts, [])
      done.push({step: name, detail})
    } catch (error) {
      done.push({step: name, failed: error.stack})
      break
    }
  }
  fs.rmSync(folder, {recursive: true})
  process.stdout.write(JSON.stringify(done) + '\n')
  process.exit(done.every(x => x.failed == null) ? 0 : 1)
}

main()
