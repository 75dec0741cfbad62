import * as ort from 'onnxruntime-node';
import { GraphBuilder } from './onnx-writer.ts';
import { ScoringError } from './errors.ts';

/** Where the head runs. */
export type ExecutionProvider = 'cpu' | 'cuda' | 'webgpu';
/** What a person may ask for; `auto` takes the first that works, in the order of `autoOrder`. */
export type ProviderSetting = ExecutionProvider | 'auto';

const autoOrder = ['cuda', 'webgpu', 'cpu'] as const;

/**
 * The provider to use, proven by running a small graph on it. One that was asked for by name and does not work is an error with
 * the runtime's own words: a server that silently serves from the CPU would miss its deadlines without a reason to be seen.
 */
export async function resolveProvider(setting: ProviderSetting): Promise<ExecutionProvider> {
  if (setting !== 'auto') {
    await prove(setting);
    return setting;
  }
  for (const provider of autoOrder) {
    try {
      await prove(provider);
      return provider;
    } catch (error) {
      if (provider === 'cpu') throw error;
    }
  }
  return 'cpu';
}

/**
 * One intra-op thread: scoring threads are the parallelism. Without the CPU arena batches of 8 were 7 % faster (see README).
 * Severity 4: what goes wrong comes back as an error with a code, not as a line of the runtime's own on stderr.
 */
export function sessionOptions(provider: ExecutionProvider): ort.InferenceSession.SessionOptions {
  return {
    executionProviders: [provider],
    intraOpNumThreads: 1,
    interOpNumThreads: 1,
    enableCpuMemArena: false,
    logSeverityLevel: 4,
  };
}

async function prove(provider: ExecutionProvider): Promise<void> {
  try {
    const session = await ort.InferenceSession.create(probeGraph(), sessionOptions(provider));
    const { y } = await session.run({ x: new ort.Tensor('float32', Float32Array.of(1, 2), [1, 2]) });
    const sum = (y!.data as Float32Array)[0];
    await session.release();
    if (sum !== 3) throw new Error(`1 + 2 = ${sum} on ${provider}`);
  } catch (error) {
    const words = error instanceof Error ? error.message : String(error);
    throw new ScoringError('PROVIDER_UNAVAILABLE', `${provider}: ${words}`, { cause: error });
  }
}

function probeGraph(): Uint8Array {
  const graph = new GraphBuilder('probe');
  graph.input('x', 'float32', [1, 2]);
  graph.constant('ones', [2, 1], Float32Array.of(1, 1));
  graph.node('MatMul', ['x', 'ones'], {}, { outputs: ['y'] });
  graph.output('y', 'float32', [1, 1]);
  return graph.toBytes();
}
