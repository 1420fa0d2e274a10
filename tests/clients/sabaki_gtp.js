// Sabaki's own GTP library, @sabaki/gtp, drives an engine as Sabaki does. Runs where the library is installed.
//
//     NODE_PATH=FOLDER/node_modules node tests/clients/sabaki_gtp.js [--sabaki CHECKOUT] COMMAND ARGUMENT…
//     NODE_PATH=FOLDER/node_modules node tests/clients/sabaki_gtp.js [--sabaki CHECKOUT] --tcp HOST PORT
//
// With a checkout of Sabaki its own parser (src/modules/analysis.js) reads every line of an analysis; it ships in no
// package. Prints one JSON object: the steps that passed, or the first that did not.

'use strict'

const assert = require('assert')
const fs = require('fs')
const net = require('net')
const os = require('os')
const path = require('path')
const {pathToFileURL} = require('url')
const {Controller, ControllerStateTracker, StreamController} = require('@sabaki/gtp')
const {fromDimensions: newBoard} = require('@sabaki/go-board')

// Sabaki's setting.js: what it looks for, in this order, and how often it wants a report (centiseconds).
const ANALYZE = ['analyze', 'kata-analyze', 'lz-analyze']
const GENMOVE = ['genmove_analyze', 'kata-genmove_analyze', 'lz-genmove_analyze']
const INTERVAL = '5'
// Nothing here takes seconds; a busy machine may stretch it.
const STEP_MS = 60000

const OPENING = ['D4', 'K6', 'D6', 'K4', 'G5'].map((vertex, i) => ({
  name: 'play',
  args: ['BW'[i % 2], vertex],
}))

async function loadParser(checkout) {
  // An ES module without a package.json that says so: node takes its word for it by the ending.
  let folder = fs.mkdtempSync(path.join(os.tmpdir(), 'sabaki-'))
  let copy = path.join(folder, 'analysis.mjs')
  fs.copyFileSync(path.join(checkout, 'src', 'modules', 'analysis.js'), copy)
  try {
    return (await import(pathToFileURL(copy))).parseAnalysis
  } finally {
    fs.rmSync(folder, {recursive: true})
  }
}

class Session {
  constructor(controller, parse) {
    this.controller = controller
    this.tracker = new ControllerStateTracker(controller)
    this.parse = parse
    this.board = newBoard(19, 19)
    this.readings = 0
  }

  async ask(name, ...args) {
    let response = await this.tracker.queueCommand({name, args})
    assert(!response.error, `${name} ${args.join(' ')}: ${response.content}`)
    return response.content
  }

  abort() {
    // EngineSyncer.sendAbort: any command ends the one that streams.
    return this.controller.sendCommand({name: 'protocol_version'})
  }

  read(line, format) {
    assert(/ pv( [A-T]\d+| pass)+$/.test(line.split(/\s*info\s+/)[1]), `pv is not last: ${line}`)
    this.readings += 1
    if (!this.parse) return
    let found = this.parse(line, this.board, format)
    let moves = line.split(/\s*info\s+/).slice(1).filter(x => !x.startsWith('move pass'))
    assert.strictEqual(found.length, moves.length, line)
    for (let {vertex, visits, winrate, scoreLead, moves} of found) {
      assert(this.board.has(vertex) && visits >= 0, line)
      assert(winrate >= 0 && winrate <= 100, line)
      assert(format === 'integer' || Math.abs(scoreLead) < 400, line)
      assert(moves.length >= 1 && moves.every(x => this.board.has(x)), line)
    }
  }

  analyze(name, color, wanted) {
    // Resolves with the command's own response once it was aborted after `wanted` reports.
    let seen = 0
    let aborted = null
    return this.tracker
      .queueCommand({name, args: [color, INTERVAL]}, ({line}) => {
        if (!line.startsWith('info ')) return
        this.read(line, name.startsWith('kata') ? 'float' : 'integer')
        seen += 1
        if (seen === wanted) aborted = this.abort()
      })
      .then(async response => {
        assert(!response.error && seen >= wanted, `${name}: ${seen} reports`)
        assert.strictEqual((await aborted).content, '2')
      })
  }

  async sync(size, history, komi = 6.5) {
    this.board = newBoard(...size)
    await this.tracker.sync({komi, boardsize: size, history})
    assert.deepStrictEqual(this.tracker.state.history, history)
  }
}

const steps = {
  async introduces(session) {
    let [name, version, protocol] = await Promise.all(
      ['name', 'version', 'protocol_version'].map(x => session.ask(x))
    )
    assert(name.startsWith('KataGo'), name)
    assert(/^\d+\.\d+/.test(version), version)
    assert.strictEqual(protocol, '2')
    session.commands = (await session.ask('list_commands')).split('\n')
    assert.strictEqual(ANALYZE.find(x => session.commands.includes(x)), 'kata-analyze')
    assert.strictEqual(GENMOVE.find(x => session.commands.includes(x)), 'kata-genmove_analyze')
    return `${name} ${version}`
  },

  async syncs13x9(session) {
    await session.sync([13, 9], OPENING)
    let drawn = await session.ask('showboard')
    assert.strictEqual(drawn.match(/\n *\d+ [.XO1-9 ]+/g).length, 9, drawn)
    return `${OPENING.length} moves`
  },

  async analyzesAndAborts(session) {
    for (let name of ANALYZE.slice(1)) for (let color of 'WB') await session.analyze(name, color, 3)
    return `${session.readings} reports`
  },

  async takesBackAndGoesAnotherWay(session) {
    let other = [...OPENING.slice(0, 3), {name: 'play', args: ['W', 'J7']}]
    await session.sync([13, 9], OPENING.slice(0, 3))
    await session.sync([13, 9], other)
    await session.analyze('kata-analyze', 'B', 1)
    return 'undo, replay'
  },

  async generatesMoves(session) {
    for (let name of [...GENMOVE.slice(1), 'genmove']) {
      for (let color of 'BW') {
        let played = null
        let args = name === 'genmove' ? [color] : [color, INTERVAL]
        let response = await session.tracker.queueCommand({name, args}, ({line}) => {
          if (line.startsWith('info ')) session.read(line, name.startsWith('kata') ? 'float' : 'integer')
          if (line.startsWith('play ')) played = line.slice(5)
        })
        assert(!response.error, response.content)
        let history = session.tracker.state.history
        let vertex = played == null ? response.content : played
        assert.deepStrictEqual(history[history.length - 1], {name: 'play', args: [color, vertex.toUpperCase()]})
      }
    }
    return session.tracker.state.history.map(x => x.args[1]).join(' ')
  },

  async scrollsThroughAGame(session) {
    // The user holds an arrow key: each position is synced and analysed, and the one before aborted at once.
    let history = [...session.tracker.state.history]
    let asked = []
    for (let round = 0; round < 3; round++) {
      for (let count = history.length; count >= 0; count--) {
        session.abort()
        await session.sync([13, 9], history.slice(0, count))
        asked.push(
          session.tracker.queueCommand({name: 'kata-analyze', args: ['BW'[count % 2], INTERVAL]}, ({line}) => {
            if (line.startsWith('info ')) session.read(line, 'float')
          })
        )
        session.abort()
      }
    }
    for (let response of await Promise.all(asked)) assert(!response.error, response.content)
    return `${asked.length} positions`
  },

  async placesHandicap(session) {
    let handicap = {name: 'set_free_handicap', args: ['D4', 'Q16', 'D16', 'Q4']}
    await session.sync([19, 19], [handicap, {name: 'play', args: ['W', 'C3']}], 0.5)
    await session.analyze('kata-analyze', 'B', 1)
    // Stones without their history, as Sabaki sets up an edited position: one colour twice, then passes.
    let stones = ['C3', 'D3', 'E3'].map(x => ({name: 'play', args: ['B', x]}))
    await session.sync([19, 19], [...stones, {name: 'play', args: ['W', 'pass'.toUpperCase()]}], 7.5)
    await session.ask('time_settings', '60', '5', '1')
    return 'handicap, edited position'
  },

  async survivesMistakes(session) {
    for (let [name, ...args] of [['play', 'B', 'C3'], ['play', 'B', 'Z99'], ['no_such_command'], ['boardsize', '99']]) {
      let response = await session.tracker.queueCommand({name, args})
      assert(response.error, `${name} ${args} was taken`)
    }
    await session.analyze('lz-analyze', 'B', 1)
    return 'four refusals'
  },

  async quits(session) {
    if (session.controller instanceof Controller) {
      let stopped = new Promise(resolve => session.controller.once('stopped', resolve))
      await session.controller.stop(STEP_MS)
      await stopped
    } else {
      await session.ask('quit')
    }
    return ''
  },
}

function timely(promise, what) {
  let timer
  let late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`nothing for ${STEP_MS / 1000} s: ${what}`)), STEP_MS)
  })
  return Promise.race([promise, late]).finally(() => clearTimeout(timer))
}

async function open(given) {
  if (given[0] === '--tcp') {
    let socket = net.connect(+given[2], given[1])
    await new Promise((resolve, reject) => socket.once('connect', resolve).once('error', reject))
    return new StreamController(socket, socket)
  }
  let controller = new Controller(given[0], given.slice(1))
  controller.start()
  controller.on('stderr', ({content}) => process.stderr.write(content + '\n'))
  return controller
}

async function main() {
  let given = process.argv.slice(2)
  let parse = null
  if (given[0] === '--sabaki') {
    parse = await loadParser(given[1])
    given = given.slice(2)
  }
  let session = new Session(await open(given), parse)
  let done = []
  for (let [name, step] of Object.entries(steps)) {
    try {
      done.push({step: name, detail: await timely(step(session), name)})
    } catch (error) {
      done.push({step: name, failed: error.stack})
      break
    }
  }
  console.log(JSON.stringify(done))
  process.exit(done.every(x => x.failed == null) ? 0 : 1)
}

main()
